-- Procedures of a test ISPyB, written from the documented interface (parameter names, order and
-- types) and rules of ISPyB's stored procedures; nothing here is copied from ispyb-database.
-- Statements end at a line that holds only two slashes. No default database is named: the server
-- and its sql_mode at creation time are chosen by server.py.

-- A finished program is never changed, and an update that is older than the last one and brings
-- no status is ignored. The update commits whatever the caller had open: so does production.
CREATE PROCEDURE upsert_processing_program_v2(
    INOUT p_id INT UNSIGNED,
    p_commandLine VARCHAR(255),
    p_programs VARCHAR(255),
    p_status INT,
    p_updateMessage VARCHAR(80),
    p_startTimestamp DATETIME,
    p_updateTimestamp DATETIME,
    p_environment VARCHAR(255),
    p_processingJobId INT UNSIGNED,
    p_pipelineId INT,
    p_recordTimestamp DATETIME
)
MODIFIES SQL DATA
SQL SECURITY DEFINER
BEGIN
    IF p_id IS NULL THEN
        INSERT INTO AutoProcProgram (
            processingCommandLine, processingPrograms, processingStatus, processingMessage,
            processingStartTime, processingEndTime, processingEnvironment,
            processingJobId, processingPipelineId, recordTimeStamp
        ) VALUES (
            p_commandLine, p_programs, p_status, p_updateMessage,
            p_startTimestamp, p_updateTimestamp, p_environment,
            p_processingJobId, p_pipelineId, IFNULL(p_recordTimestamp, NOW())
        );
        SET p_id = LAST_INSERT_ID();
    ELSE
        START TRANSACTION;
        UPDATE AutoProcProgram SET
            processingCommandLine = IFNULL(p_commandLine, processingCommandLine),
            processingPrograms = IFNULL(p_programs, processingPrograms),
            processingStatus = p_status,
            processingMessage = IFNULL(p_updateMessage, processingMessage),
            processingStartTime = COALESCE(processingStartTime, p_startTimestamp, NOW()),
            processingEndTime = IFNULL(p_updateTimestamp, NOW()),
            processingEnvironment = IFNULL(p_environment, processingEnvironment),
            processingJobId = IFNULL(p_processingJobId, processingJobId),
            processingPipelineId = IFNULL(p_pipelineId, processingPipelineId),
            recordTimeStamp = IFNULL(p_recordTimestamp, recordTimeStamp)
        WHERE autoProcProgramId = p_id
            AND processingStatus IS NULL
            AND (
                p_status IS NOT NULL
                OR p_updateTimestamp IS NULL
                OR processingEndTime IS NULL
                OR p_updateTimestamp >= processingEndTime
            );
        COMMIT;
    END IF;
END
//

-- Nothing but the id tells two attachments apart: a second call without it makes a second row.
CREATE PROCEDURE upsert_processing_program_attachment_v2(
    INOUT p_id INT UNSIGNED,
    p_parentid INT UNSIGNED,
    p_file_name VARCHAR(255),
    p_file_path VARCHAR(255),
    p_file_type ENUM('Log', 'Result', 'Graph', 'Debug'),
    p_importance_rank TINYINT UNSIGNED
)
MODIFIES SQL DATA
SQL SECURITY DEFINER
BEGIN
    IF p_id IS NULL THEN
        INSERT INTO AutoProcProgramAttachment (
            autoProcProgramId, fileName, filePath, fileType, importanceRank, recordTimeStamp
        ) VALUES (
            p_parentid, p_file_name, p_file_path, p_file_type, p_importance_rank, NOW()
        );
        SET p_id = LAST_INSERT_ID();
    ELSE
        UPDATE AutoProcProgramAttachment SET
            autoProcProgramId = IFNULL(p_parentid, autoProcProgramId),
            fileName = IFNULL(p_file_name, fileName),
            filePath = IFNULL(p_file_path, filePath),
            fileType = IFNULL(p_file_type, fileType),
            importanceRank = IFNULL(p_importance_rank, importanceRank)
        WHERE autoProcProgramAttachmentId = p_id;
    END IF;
END
//

CREATE PROCEDURE upsert_processing_program_message(
    INOUT p_id INT UNSIGNED,
    p_programId INT UNSIGNED,
    p_severity ENUM('ERROR', 'WARNING', 'INFO'),
    p_message VARCHAR(200),
    p_description TEXT
)
MODIFIES SQL DATA
SQL SECURITY DEFINER
BEGIN
    IF p_id IS NULL THEN
        INSERT INTO AutoProcProgramMessage (autoProcProgramId, severity, message, description)
        VALUES (p_programId, p_severity, p_message, p_description);
        SET p_id = LAST_INSERT_ID();
    ELSE
        UPDATE AutoProcProgramMessage SET
            autoProcProgramId = IFNULL(p_programId, autoProcProgramId),
            severity = IFNULL(p_severity, severity),
            message = IFNULL(p_message, message),
            description = IFNULL(p_description, description)
        WHERE autoProcProgramMessageId = p_id;
    END IF;
END
//

CREATE PROCEDURE upsert_processing(
    INOUT p_id INT UNSIGNED,
    p_parentId INT UNSIGNED,
    p_spacegroup VARCHAR(45),
    p_refinedcell_a FLOAT,
    p_refinedcell_b FLOAT,
    p_refinedcell_c FLOAT,
    p_refinedcell_alpha FLOAT,
    p_refinedcell_beta FLOAT,
    p_refinedcell_gamma FLOAT
)
MODIFIES SQL DATA
SQL SECURITY DEFINER
BEGIN
    IF p_id IS NULL THEN
        INSERT INTO AutoProc (
            autoProcProgramId, spaceGroup, refinedCell_a, refinedCell_b, refinedCell_c,
            refinedCell_alpha, refinedCell_beta, refinedCell_gamma, recordTimeStamp
        ) VALUES (
            p_parentId, p_spacegroup, p_refinedcell_a, p_refinedcell_b, p_refinedcell_c,
            p_refinedcell_alpha, p_refinedcell_beta, p_refinedcell_gamma, NOW()
        );
        SET p_id = LAST_INSERT_ID();
    ELSE
        UPDATE AutoProc SET
            autoProcProgramId = IFNULL(p_parentId, autoProcProgramId),
            spaceGroup = IFNULL(p_spacegroup, spaceGroup),
            refinedCell_a = IFNULL(p_refinedcell_a, refinedCell_a),
            refinedCell_b = IFNULL(p_refinedcell_b, refinedCell_b),
            refinedCell_c = IFNULL(p_refinedcell_c, refinedCell_c),
            refinedCell_alpha = IFNULL(p_refinedcell_alpha, refinedCell_alpha),
            refinedCell_beta = IFNULL(p_refinedcell_beta, refinedCell_beta),
            refinedCell_gamma = IFNULL(p_refinedcell_gamma, refinedCell_gamma)
        WHERE autoProcId = p_id;
    END IF;
END
//

-- One scaling and its three shells, all or nothing; it commits whatever the caller had open, as
-- production does. Our table has no column for a shell's comments: they are accepted and ignored.
CREATE PROCEDURE insert_processing_scaling_v2(
    INOUT p_id INT UNSIGNED,
    p_parentId INT UNSIGNED,
    p_type1 ENUM('overall', 'innerShell', 'outerShell'),
    p_comments1 VARCHAR(255),
    p_res_lim_low1 FLOAT,
    p_res_lim_high1 FLOAT,
    p_r_merge1 FLOAT,
    p_r_meas_within1 FLOAT,
    p_r_meas_all1 FLOAT,
    p_r_pim_within1 FLOAT,
    p_r_pim_all1 FLOAT,
    p_fract_partial_bias1 FLOAT,
    p_n_tot_obs1 INT,
    p_n_tot_unique_obs1 INT,
    p_mean_i_sig_i1 FLOAT,
    p_res_i_sig_i_21 FLOAT,
    p_completeness1 FLOAT,
    p_multiplicity1 FLOAT,
    p_anom1 TINYINT,
    p_anom_completeness1 FLOAT,
    p_anom_multiplicity1 FLOAT,
    p_cc_half1 FLOAT,
    p_cc_anom1 FLOAT,
    p_type2 ENUM('overall', 'innerShell', 'outerShell'),
    p_comments2 VARCHAR(255),
    p_res_lim_low2 FLOAT,
    p_res_lim_high2 FLOAT,
    p_r_merge2 FLOAT,
    p_r_meas_within2 FLOAT,
    p_r_meas_all2 FLOAT,
    p_r_pim_within2 FLOAT,
    p_r_pim_all2 FLOAT,
    p_fract_partial_bias2 FLOAT,
    p_n_tot_obs2 INT,
    p_n_tot_unique_obs2 INT,
    p_mean_i_sig_i2 FLOAT,
    p_res_i_sig_i_22 FLOAT,
    p_completeness2 FLOAT,
    p_multiplicity2 FLOAT,
    p_anom2 TINYINT,
    p_anom_completeness2 FLOAT,
    p_anom_multiplicity2 FLOAT,
    p_cc_half2 FLOAT,
    p_cc_anom2 FLOAT,
    p_type3 ENUM('overall', 'innerShell', 'outerShell'),
    p_comments3 VARCHAR(255),
    p_res_lim_low3 FLOAT,
    p_res_lim_high3 FLOAT,
    p_r_merge3 FLOAT,
    p_r_meas_within3 FLOAT,
    p_r_meas_all3 FLOAT,
    p_r_pim_within3 FLOAT,
    p_r_pim_all3 FLOAT,
    p_fract_partial_bias3 FLOAT,
    p_n_tot_obs3 INT,
    p_n_tot_unique_obs3 INT,
    p_mean_i_sig_i3 FLOAT,
    p_res_i_sig_i_23 FLOAT,
    p_completeness3 FLOAT,
    p_multiplicity3 FLOAT,
    p_anom3 TINYINT,
    p_anom_completeness3 FLOAT,
    p_anom_multiplicity3 FLOAT,
    p_cc_half3 FLOAT,
    p_cc_anom3 FLOAT
)
MODIFIES SQL DATA
SQL SECURITY DEFINER
BEGIN
    DECLARE v_scaling_id INT UNSIGNED DEFAULT NULL;
    DECLARE EXIT HANDLER FOR SQLEXCEPTION
    BEGIN
        ROLLBACK;
        RESIGNAL;
    END;

    START TRANSACTION;
    INSERT INTO AutoProcScaling (autoProcId, recordTimeStamp) VALUES (p_parentId, NOW());
    SET v_scaling_id = LAST_INSERT_ID();
    INSERT INTO AutoProcScalingStatistics (
        autoProcScalingId, scalingStatisticsType, resolutionLimitLow, resolutionLimitHigh, rMerge,
        rMeasWithinIPlusIMinus, rMeasAllIPlusIMinus, rPimWithinIPlusIMinus, rPimAllIPlusIMinus,
        fractionalPartialBias, nTotalObservations, nTotalUniqueObservations, meanIOverSigI,
        resIOverSigI2, completeness, multiplicity, anomalous, anomalousCompleteness,
        anomalousMultiplicity, ccHalf, ccAnomalous, recordTimeStamp
    ) VALUES
        (
            v_scaling_id, p_type1, p_res_lim_low1, p_res_lim_high1, p_r_merge1, p_r_meas_within1,
            p_r_meas_all1, p_r_pim_within1, p_r_pim_all1, p_fract_partial_bias1, p_n_tot_obs1,
            p_n_tot_unique_obs1, p_mean_i_sig_i1, p_res_i_sig_i_21, p_completeness1,
            p_multiplicity1, IFNULL(p_anom1, 0), p_anom_completeness1, p_anom_multiplicity1,
            p_cc_half1, p_cc_anom1, NOW()
        ),
        (
            v_scaling_id, p_type2, p_res_lim_low2, p_res_lim_high2, p_r_merge2, p_r_meas_within2,
            p_r_meas_all2, p_r_pim_within2, p_r_pim_all2, p_fract_partial_bias2, p_n_tot_obs2,
            p_n_tot_unique_obs2, p_mean_i_sig_i2, p_res_i_sig_i_22, p_completeness2,
            p_multiplicity2, IFNULL(p_anom2, 0), p_anom_completeness2, p_anom_multiplicity2,
            p_cc_half2, p_cc_anom2, NOW()
        ),
        (
            v_scaling_id, p_type3, p_res_lim_low3, p_res_lim_high3, p_r_merge3, p_r_meas_within3,
            p_r_meas_all3, p_r_pim_within3, p_r_pim_all3, p_fract_partial_bias3, p_n_tot_obs3,
            p_n_tot_unique_obs3, p_mean_i_sig_i3, p_res_i_sig_i_23, p_completeness3,
            p_multiplicity3, IFNULL(p_anom3, 0), p_anom_completeness3, p_anom_multiplicity3,
            p_cc_half3, p_cc_anom3, NOW()
        );
    COMMIT;
    SET p_id = v_scaling_id;
END
//

-- Our table has no columns for the rotation axis and the beam vector: both are ignored.
CREATE PROCEDURE upsert_processing_integration(
    INOUT p_id INT UNSIGNED,
    p_parentId INT UNSIGNED,
    p_datacollectionId INT UNSIGNED,
    p_programRunId INT UNSIGNED,
    p_startImageNumber INT UNSIGNED,
    p_endImageNumber INT UNSIGNED,
    p_refinedDetectorDistance FLOAT,
    p_refinedXBeam FLOAT,
    p_refinedYBeam FLOAT,
    p_rot_axis_x FLOAT,
    p_rot_axis_y FLOAT,
    p_rot_axis_z FLOAT,
    p_beam_vec_x FLOAT,
    p_beam_vec_y FLOAT,
    p_beam_vec_z FLOAT,
    p_cell_a FLOAT,
    p_cell_b FLOAT,
    p_cell_c FLOAT,
    p_cell_alpha FLOAT,
    p_cell_beta FLOAT,
    p_cell_gamma FLOAT,
    p_anomalous TINYINT
)
MODIFIES SQL DATA
SQL SECURITY DEFINER
BEGIN
    IF p_id IS NULL THEN
        INSERT INTO AutoProcIntegration (
            dataCollectionId, autoProcProgramId, startImageNumber, endImageNumber,
            refinedDetectorDistance, refinedXBeam, refinedYBeam,
            cell_a, cell_b, cell_c, cell_alpha, cell_beta, cell_gamma,
            anomalous, recordTimeStamp
        ) VALUES (
            p_datacollectionId, p_programRunId, p_startImageNumber, p_endImageNumber,
            p_refinedDetectorDistance, p_refinedXBeam, p_refinedYBeam,
            p_cell_a, p_cell_b, p_cell_c, p_cell_alpha, p_cell_beta, p_cell_gamma,
            IFNULL(p_anomalous, 0), NOW()
        );
        SET p_id = LAST_INSERT_ID();
    ELSE
        UPDATE AutoProcIntegration SET
            dataCollectionId = IFNULL(p_datacollectionId, dataCollectionId),
            autoProcProgramId = IFNULL(p_programRunId, autoProcProgramId),
            startImageNumber = IFNULL(p_startImageNumber, startImageNumber),
            endImageNumber = IFNULL(p_endImageNumber, endImageNumber),
            refinedDetectorDistance = IFNULL(p_refinedDetectorDistance, refinedDetectorDistance),
            refinedXBeam = IFNULL(p_refinedXBeam, refinedXBeam),
            refinedYBeam = IFNULL(p_refinedYBeam, refinedYBeam),
            cell_a = IFNULL(p_cell_a, cell_a),
            cell_b = IFNULL(p_cell_b, cell_b),
            cell_c = IFNULL(p_cell_c, cell_c),
            cell_alpha = IFNULL(p_cell_alpha, cell_alpha),
            cell_beta = IFNULL(p_cell_beta, cell_beta),
            cell_gamma = IFNULL(p_cell_gamma, cell_gamma),
            anomalous = IFNULL(p_anomalous, anomalous)
        WHERE autoProcIntegrationId = p_id;
    END IF;

    IF p_parentId IS NOT NULL THEN
        DELETE FROM AutoProcScaling_has_Int WHERE autoProcIntegrationId = p_id;
        INSERT INTO AutoProcScaling_has_Int (
            autoProcScalingId, autoProcIntegrationId, recordTimeStamp
        ) VALUES (p_parentId, p_id, NOW());
    END IF;
END
//

CREATE PROCEDURE upsert_processing_job(
    INOUT p_id INT UNSIGNED,
    p_dataCollectionId INT UNSIGNED,
    p_displayName VARCHAR(80),
    p_comments VARCHAR(255),
    p_recipe VARCHAR(50),
    p_automatic TINYINT
)
MODIFIES SQL DATA
SQL SECURITY DEFINER
BEGIN
    IF p_id IS NULL THEN
        INSERT INTO ProcessingJob (dataCollectionId, displayName, comments, recipe, automatic)
        VALUES (p_dataCollectionId, p_displayName, p_comments, p_recipe, p_automatic);
        SET p_id = LAST_INSERT_ID();
    ELSE
        UPDATE ProcessingJob SET
            dataCollectionId = IFNULL(p_dataCollectionId, dataCollectionId),
            displayName = IFNULL(p_displayName, displayName),
            comments = IFNULL(p_comments, comments),
            recipe = IFNULL(p_recipe, recipe),
            automatic = IFNULL(p_automatic, automatic)
        WHERE processingJobId = p_id;
    END IF;
END
//

CREATE PROCEDURE upsert_processing_job_parameter(
    INOUT p_id INT UNSIGNED,
    p_processingJobId INT UNSIGNED,
    p_parameterKey VARCHAR(80),
    p_parameterValue VARCHAR(1024)
)
MODIFIES SQL DATA
SQL SECURITY DEFINER
BEGIN
    IF p_id IS NULL THEN
        INSERT INTO ProcessingJobParameter (processingJobId, parameterKey, parameterValue)
        VALUES (p_processingJobId, p_parameterKey, p_parameterValue);
        SET p_id = LAST_INSERT_ID();
    ELSE
        UPDATE ProcessingJobParameter SET
            processingJobId = IFNULL(p_processingJobId, processingJobId),
            parameterKey = IFNULL(p_parameterKey, parameterKey),
            parameterValue = IFNULL(p_parameterValue, parameterValue)
        WHERE processingJobParameterId = p_id;
    END IF;
END
//

CREATE PROCEDURE upsert_processing_job_image_sweep(
    INOUT p_id INT UNSIGNED,
    p_processingJobId INT UNSIGNED,
    p_dataCollectionId INT UNSIGNED,
    p_startImage MEDIUMINT UNSIGNED,
    p_endImage MEDIUMINT UNSIGNED
)
MODIFIES SQL DATA
SQL SECURITY DEFINER
BEGIN
    IF p_id IS NULL THEN
        INSERT INTO ProcessingJobImageSweep (
            processingJobId, dataCollectionId, startImage, endImage
        ) VALUES (p_processingJobId, p_dataCollectionId, p_startImage, p_endImage);
        SET p_id = LAST_INSERT_ID();
    ELSE
        UPDATE ProcessingJobImageSweep SET
            processingJobId = IFNULL(p_processingJobId, processingJobId),
            dataCollectionId = IFNULL(p_dataCollectionId, dataCollectionId),
            startImage = IFNULL(p_startImage, startImage),
            endImage = IFNULL(p_endImage, endImage)
        WHERE processingJobImageSweepId = p_id;
    END IF;
END
//
